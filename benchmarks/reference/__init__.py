"""Straightforward implementations, as released code of the field has them: what the fast paths are measured against.

Each is written from the definition or calls a well-known library, and shares no code with the package.
"""
