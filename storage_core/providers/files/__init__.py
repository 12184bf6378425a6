"""What engines share whose databases are files: the ground they lie on, and collections kept by a journal."""
