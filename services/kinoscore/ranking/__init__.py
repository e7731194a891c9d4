"""Owns the index of tracks: stores them in Milvus, searches them, ranks what is found and says why.

filters       the filter language: text to a typed syntax tree
expressions   the syntax tree to a Milvus expression
rows          what a row of the collection holds, and how a track becomes rows
connection    one open Milvus, behind asyncio, deadlines and our errors
store         the collection of one space
spaces        all collections of a store, and the alias that tells the active space
active        the active space, read anew for each request
scoring       similarities, polarity, the final score
alignment     a clip's windows along a track's passages
diversity     not too many tracks of one artist
reasons       why a track fits, in words
requests      what a request must be to be answered
search        recall, then all of the above
library       the tracks without their vectors: listed, changed, deleted
servicer      RankingService in one space
in_spaces     RankingService: each request in the space that it names, or in the active one
"""
