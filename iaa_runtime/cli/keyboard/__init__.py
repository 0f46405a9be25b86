"""Reading lines from a person: a prompt with editing, history and completion, and where it remembers. No chat."""
