"""Finds shifts and wrong datums: do POIs lie where the imagery shows them?"""
