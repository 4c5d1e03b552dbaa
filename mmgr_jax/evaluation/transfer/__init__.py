"""What an encoder and heads of some cities are worth in another: `mmgr_jax.transfer`.

`encoders` says which encoders are trained on which cities, `library` reads their
features in every city, `heads` carries labels from city to city, `trial` tests a city
by all of them, and `summary` puts the tested cities together.
"""
