"""Proves to a broker who a client is: tokens, connections that renew them, reasons of a refusal.

`client` alone imports this room, and gives what it says to every client. Begin with `tokens`.
"""
