"""What the legends of all maps say: breaks, colours, printed numbers.

It needs the standard library alone, since the page of a report does.
"""
