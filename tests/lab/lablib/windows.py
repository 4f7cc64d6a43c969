def build(out, final): raise NotImplementedError
def build_drivers(out): raise NotImplementedError
