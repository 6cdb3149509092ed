def truth(raw, params, notes):
    raise NotImplementedError
