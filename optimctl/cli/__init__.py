"""The command line: a file a command. Each parses, calls one library function and shows what came back."""
