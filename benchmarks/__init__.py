"""What the promises about cost are measured with: `python -m benchmarks [names...] [--json FILE]`.

No benchmark is a test: they measure, print and compare with a target, and what they find depends on the machine.
"""
