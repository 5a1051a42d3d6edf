"""Other channels as this one knows them: the children it opened, its parent, and the bridge over which money moves.

registry   which channels, by whose signatures; anchored checkpoints, and facts proved under them
bridge     lock here, mint there, burn there, release here: each once, by proof
"""
