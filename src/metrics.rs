//! The names of all metrics, each with what it counts.
//!
//! Who reads them is `admin::http`. Labels are closed sets, never an address.

/// Gossip datagrams thrown away, by reason.
pub const GOSSIP_REFUSED: &str = "jabiru_cluster_gossip_refused_total";
/// Mesh connections that did not prove the cookie, or spoke another version.
pub const MESH_REFUSED: &str = "jabiru_cluster_mesh_refused_total";
/// Bytes of gossip datagrams that were sent, sealed.
pub const GOSSIP_BYTES: &str = "jabiru_cluster_gossip_bytes_total";
/// Bytes that were written to other nodes by the mesh, before TLS.
pub const MESH_BYTES: &str = "jabiru_cluster_mesh_bytes_total";
/// Sessions of this node.
pub const SESSIONS: &str = "jabiru_session_manager_sessions";
/// Nodes that this one sees, itself included.
pub const NODES: &str = "jabiru_cluster_nodes";
/// Stanzas that clients of this node sent.
pub const STANZAS_IN: &str = "jabiru_c2s_stanzas_in_total";
/// Connections of clients that were not served, by reason.
pub const REFUSED: &str = "jabiru_c2s_refused_total";
/// Failed attempts to authenticate.
pub const AUTHENTICATION_FAILED: &str = "jabiru_c2s_authentication_failed_total";
/// Routes to components of this node: one for each instance and domain.
pub const COMPONENTS: &str = "jabiru_component_routes";
/// Stanzas that components of this node sent.
pub const COMPONENT_STANZAS_IN: &str = "jabiru_component_stanzas_in_total";
/// Connections of components that were not served, by reason.
pub const COMPONENTS_REFUSED: &str = "jabiru_component_refused_total";
/// Connections of other servers that were not served, by reason.
pub const S2S_REFUSED: &str = "jabiru_s2s_refused_total";
/// Proofs of who they are that other servers gave in vain.
pub const S2S_PROOF_FAILED: &str = "jabiru_s2s_proof_failed_total";
/// Streams of other servers that we have ended, by the stream error.
pub const S2S_CLOSED: &str = "jabiru_s2s_closed_total";
/// Stanzas that other servers sent to this node.
pub const S2S_STANZAS_IN: &str = "jabiru_s2s_stanzas_in_total";
/// Links to other servers that were opened, by how we have proved who we are.
pub const LINKS_OPENED: &str = "jabiru_s2s_manager_links_opened_total";
/// Links to other servers that did not come about, by reason.
pub const LINKS_FAILED: &str = "jabiru_s2s_manager_links_failed_total";
/// Stanzas for other servers that came back to their senders, by reason.
pub const S2S_RETURNED: &str = "jabiru_s2s_manager_returned_total";
/// How often streams from and links to other servers were held to their rate.
pub const S2S_HELD: &str = "jabiru_s2s_manager_held_total";

/// Requests for somebody's presence that were ignored, for too many wait.
pub const REQUESTS_REFUSED: &str = "jabiru_im_requests_refused_total";
/// Messages that were stored for accounts that were away.
pub const OFFLINE_STORED: &str = "jabiru_session_manager_offline_stored_total";
/// Messages that came back because there was no room for them in the store.
pub const OFFLINE_REFUSED: &str = "jabiru_session_manager_offline_refused_total";

const ABOUT: [(&str, &str); 23] = [
    (GOSSIP_REFUSED, "Gossip datagrams thrown away, by reason."),
    (MESH_REFUSED, "Mesh connections refused, by reason."),
    (GOSSIP_BYTES, "Bytes of gossip datagrams that were sent, sealed."),
    (MESH_BYTES, "Bytes that were written to other nodes by the mesh, before TLS."),
    (SESSIONS, "Sessions of this node."),
    (NODES, "Nodes that this one sees, itself included."),
    (STANZAS_IN, "Stanzas that clients of this node sent."),
    (REFUSED, "Connections of clients that were not served, by reason."),
    (AUTHENTICATION_FAILED, "Failed attempts to authenticate."),
    (COMPONENTS, "Routes to components of this node: one for each instance and domain."),
    (COMPONENT_STANZAS_IN, "Stanzas that components of this node sent."),
    (COMPONENTS_REFUSED, "Connections of components that were not served, by reason."),
    (S2S_REFUSED, "Connections of other servers that were not served, by reason."),
    (S2S_PROOF_FAILED, "Proofs of who they are that other servers gave in vain."),
    (S2S_CLOSED, "Streams of other servers that we have ended, by the stream error."),
    (S2S_STANZAS_IN, "Stanzas that other servers sent to this node."),
    (LINKS_OPENED, "Links to other servers that were opened, by how we proved ourselves."),
    (LINKS_FAILED, "Links to other servers that did not come about, by reason."),
    (S2S_RETURNED, "Stanzas for other servers that came back to their senders, by reason."),
    (S2S_HELD, "How often streams from and links to servers were held to a rate, by direction."),
    (REQUESTS_REFUSED, "Requests for presence that were ignored, for too many wait."),
    (OFFLINE_STORED, "Messages that were stored for accounts that were away."),
    (OFFLINE_REFUSED, "Messages refused because an offline store was full."),
];

/// Counts one, under one of a closed set of reasons.
pub fn count(name: &'static str, reason: &'static str) {
    metrics::counter!(name, "reason" => reason).increment(1);
}

/// Counts so many.
pub fn add(name: &'static str, value: usize) {
    metrics::counter!(name).increment(value as u64);
}

/// Sets a number that goes up and down.
pub fn set(name: &'static str, value: usize) {
    metrics::gauge!(name).set(u32::try_from(value).unwrap_or(u32::MAX));
}

/// Tells the exporter what each metric is.
pub fn describe() {
    for (name, about) in ABOUT {
        if name.ends_with("_total") {
            metrics::describe_counter!(name, about);
        } else {
            metrics::describe_gauge!(name, about);
        }
    }
}
