"""Grades notebooks: runs what students hand in, and judges it by the verdicts of :mod:`fslib.book.checks`.

A graded function is found by its name, never by the metadata of a cell. The notebook is not run from top to bottom:
what the graded functions need is imported, defined and assigned, in the order of the cells, and nothing else. So a
function should stand by itself: what it uses must be bound at the top level of some cell.

**Whom to trust.** The code of a submission runs in a child process. It gets inputs, and sends back numbers, texts and
tensors in a form that nothing can be executed of; an object that equals everything arrives as a bare object, a patched
``torch.allclose`` stays in the child. References, comparisons and the key stay in the parent. So a forged answer is
worth no more than another: it must agree with a reference that the child does not have, on inputs drawn after it was
written. Each request carries a number drawn for it. What is written into the connection early, late, or for another
function, does not repeat that number: the function that was asked gets no points, and the process is ended.

**What a submission can still do.** It can compute a right answer in another way than was asked: import one from a
package, or change its inputs and hide that it did. What the installed packages hold is not hidden, ``fslib`` and its
own exercises included, so a hidden assignment must ask for something that they do not contain. It can remember inputs
between calls, and use up its time. It can be right on the inputs that are drawn and wrong on others; draw more often.
In the mode *sandbox* several processes may each take the memory that one may have; if the machine runs out of it, they
are the first to be ended. In the modes *self-check* and *container* it can read what its user can read, the grader's
memory included, leave processes behind, and start too many: there nothing is hidden, and an assignment with a course
key is refused. A mark is as safe as the kernel: against who knows how to break out of Linux namespaces, use a virtual
machine.
"""

from fslib.book.grading.assignment import Assignment, Graded, Mark, Report, grade, load_assignment
from fslib.book.grading.classroom import grade_folder
from fslib.book.grading.process import MODES, Limits

__all__ = [
    "MODES", "Assignment", "Graded", "Limits", "Mark", "Report", "grade", "grade_folder", "load_assignment",
]  # fmt: skip
