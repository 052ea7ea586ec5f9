"One module a competition: its reader and its recipes."
