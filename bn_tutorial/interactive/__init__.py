"""Fragments of HTML to try things on: a digit to draw, and a training to run.

Each is one piece of HTML with its script and its numbers inside. It asks for nothing from
elsewhere, and needs no kernel once it is made. Where scripts don't run it is a picture and a
sentence.

In HTML, a fragment is the element with the attribute `data-bn-tutorial`.
"""

from bn_tutorial.interactive.digits import draw_a_digit
from bn_tutorial.interactive.experiment import train_here
from bn_tutorial.interactive.fragments import Fragment

__all__ = ["Fragment", "draw_a_digit", "train_here"]
