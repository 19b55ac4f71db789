//! Where bytes become stanzas: clients and other nodes.
