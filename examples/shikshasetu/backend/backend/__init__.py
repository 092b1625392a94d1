"""The API, the tasks and the backups of ShikshaSetu."""
