"""What every kinoscore server shares: settings, bootstrap, drain, deadlines, errors on the wire, uploads."""
