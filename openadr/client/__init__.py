"""What every OpenADR 2.0b client needs, whatever it acts for: a home, or an aggregator at its utility's VTN.

The one place of this package with sockets. Import the modules, not the package: who needs the errors alone, loads no
HTTP.
"""
