"""One network on several workers: `python -m bn_tutorial.cluster --help`.

`worker` is what each process does, `supervisor` starts the processes and watches them,
`private_network` shuts them in. Only `worker` imports TensorFlow.
"""
