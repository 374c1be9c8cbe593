"""What serves the book, and not the subject: its records and experiments, its checks, pictures and exports.

The rest of the package knows nothing of it. Until it had a house of its own, its modules stood beside the others:
``from fslib import ledger`` and ``import fslib.ledger`` still give ``fslib.book.ledger``, as the chapters write.
"""
