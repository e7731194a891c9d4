"""Owns the index of tracks: stores them in Milvus, searches them, ranks what is found and says why.

filters       the filter language: text to a typed syntax tree
expressions   the syntax tree to a Milvus expression
rows          what a row of the collection holds, and how a track becomes rows
store         the collection, behind asyncio, deadlines and our errors
scoring       similarities, polarity, the final score
alignment     a clip's windows along a track's passages
diversity     not too many tracks of one artist
reasons       why a track fits, in words
requests      what a request must be to be answered
search        recall, then all of the above
servicer      RankingService
"""
