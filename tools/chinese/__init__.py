"""The Chinese edition: made from the English texts and a catalogue of messages for each.

`python -m tools.chinese` makes notebooks/zh/ and the Chinese READMEs, as `make zh` does. With
`--update` it brings the catalogues in translations/zh/ up to date with the English texts. With
`--check` it prints what is wrong with them; `--check 03` asks for one. Where a message is missing
or stale, the edition shows the English paragraph; `--stale` counts these.
"""
