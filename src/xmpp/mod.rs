//! Addresses, stanzas, errors: the words of RFC 6120 and RFC 7622 as types. Pure.
