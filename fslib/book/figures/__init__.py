"""The interactive figures of the book, in a notebook: the very modules that run in the pages.

>>> from fslib import figures
>>> figures.show("metric-plane", metric="cosine")     # doctest: +SKIP

shows one alive in JupyterLab and Colab, and as a picture with a link where nothing can run. What is set by hand can be
read, ``figure.state``, and set, ``figure.state = {"metric": "euclidean"}``. A figure's own *Copy link* gives an address
that opens the same state on the book's site; ``show`` takes it as ``link``.
"""

from fslib.book.figures.shown import FIGURES, FOLDER, joined, picture, show

__all__ = ["FIGURES", "FOLDER", "joined", "picture", "show"]
