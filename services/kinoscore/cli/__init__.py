"""The `kinoscore` command.

    application       the commands by name, each loaded when it is called
    commands/         one module a command
    options           the options that several commands share
    settings_options  options made from the settings of a service
    running           how a command runs: its loop, its signals, its errors, its exit status
    connection        the server it talks to: a given address, a running `up`, or the stack in this process
    presentation      what people read: tables and lines
    documents         what programs read: JSON
    previews          a clip with the recommended music under it
    catalogue_files   audio files and the manifest that describes them
    indexing          bringing a catalogue up to date with files
    index_run         one run of it, with progress
    demo_files        the media of the demo
    checks            what the doctor looks at

Commands import what is heavy where they use it, so that `kinoscore --help` stays quick.
"""

from kinoscore.cli.application import main

__all__ = ["main"]
