"""What is wrong with batch normalization in a Keras model: `examine`.

`examination` tells one trouble from another, by what `measurements` sees of the data,
`architecture` of the graph and `layer_checks` of a layer; `ailments` has their names and remedies,
`findings` the report.
"""

from bn_tutorial.doctor.examination import examine
from bn_tutorial.doctor.findings import Finding, Findings

__all__ = ["Finding", "Findings", "examine"]
