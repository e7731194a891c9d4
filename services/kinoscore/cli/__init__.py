"""The `kinoscore` command.

application     the commands by name, each loaded when it is called
options         the options that several commands share
running         how a command runs: its loop, its signals, its errors, its exit status
connection      the server that a command talks to: a given address, a running `up`, or the stack in this
process presentation    what people read: tables and lines documents       what programs read: JSON
catalogue_files audio files and the manifest that describes them indexing        bringing a catalogue up to
date with files commands/       one module a command
"""

from kinoscore.cli.application import main

__all__ = ["main"]
