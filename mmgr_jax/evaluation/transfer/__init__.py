"""How well encoders and heads of some cities work in another: `mmgr_jax.transfer`.

`encoders` says which encoders are trained on which cities, and `library` reads their
features in every city. `heads` applies heads of some cities to another one, `trial`
tests a city by all methods, and `summary` combines the tested cities.
"""
