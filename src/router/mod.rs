//! Whose domain is it: the first decision about every stanza.
