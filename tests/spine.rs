//! The main job with real processes and real clients: log in on different
//! nodes, chat, lose a node. What happens inside is tested elsewhere.

mod support;

use support::Nodes;
use support::client::{Door, One};

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_on_two_nodes_chat() {
    let nodes = Nodes::start(3);
    nodes.account("romeo", "r0m30");
    nodes.account("juliet", "jul13t");
    let mut romeo = One::online(&nodes.list[0], Door::StartTls, "romeo", "garden", "r0m30").await;
    let mut juliet = One::online(&nodes.list[1], Door::Direct, "juliet", "balcony", "jul13t").await;
    romeo.say(&juliet.jid, "Wherefore?").await;
    let (from, text) = juliet.hear().await;
    assert_eq!((from, text.as_str()), (romeo.jid.clone(), "Wherefore?"));
    juliet.say(&romeo.jid.to_bare().into(), "Here!").await;
    let (from, text) = romeo.hear().await;
    assert_eq!((from, text.as_str()), (juliet.jid.clone(), "Here!"));
}
