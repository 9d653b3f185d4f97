"""One file per verb of the command line: arguments in, a call to a room of the house, words or JSON out."""
