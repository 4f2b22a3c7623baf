"""What a target would refuse, misread or run slowly, found by reading: plans and files alike.

`findings.py` lists the rules; `structure.py` holds those that are the same for every runtime, over a
network read as `Net`. A runtime's own rules are in the file of its name, which has
`lint(data, target, manifest) -> list[Finding]`.
"""
