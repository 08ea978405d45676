"""The command line: one thin file a verb. A verb parses, calls one library function and prints."""
