"""Every method on features, the dual path among them, one module each, behind one interface (`method`).

random_order   the floor
cca, pls       linear maps, without a network
triplet        two branches, ranking loss, with or without soft intra-modal structure (VM-NET)
info_nce       two towers, InfoNCE, mean pooling or a small temporal transformer (MVPt)
single_path    the content path or the emotion path of the dual path alone
agreement      two emotion classifiers, trained apart, and how far they agree
aligned_cca    a control: what time-aligned passages bring without any network
dual_path      ours, with a switch for every idea
by_name        all of them, and the dual path less one idea each
"""
