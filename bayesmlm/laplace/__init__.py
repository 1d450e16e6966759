"""The mathematics the likelihood and the posterior share: arrays in, frozen results out."""
