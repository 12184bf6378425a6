"""The operations: everything people can do, each one method marked once."""
