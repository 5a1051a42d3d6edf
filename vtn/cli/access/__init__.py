"""`dr-vtn pki | vens | consents | readings | audit`: who may join, act and see what."""
