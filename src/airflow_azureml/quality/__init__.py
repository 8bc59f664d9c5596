"""Reading tables in a stream, and telling what they are like. Needs the extra ``quality``."""
