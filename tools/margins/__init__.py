"""How far the claims of notebooks and tests are from failing, in units of their own spread.

    python -m tools.margins                       all chapters and tests, in some two hours
    python -m tools.margins 03 solutions/08       two notebooks
    python -m tools.margins tests/test_networks.py  a file of tests

A claim is an `assert`, or a call of `np.testing.assert_allclose`. What it compares is run again
with what it must not depend on changed: the seed, TensorFlow's oneDNN kernels, the number of
threads, the data (MNIST or the embedded digits), and once with all steps. Each run gives the
claim's *slack*: by how much it holds, in its own unit, such as 0.02 of accuracy; negative if it
fell. A claim keeps its margin if its mean slack is at least three of the slack's standard
deviations, on each kind of data.

`claims` turns an `assert` into a record of its slack, `seeds` is the plug-in that does so in tests
and moves their seeds, `runs` runs notebooks and tests, and `report` compares the runs.
"""
