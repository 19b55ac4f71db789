//! What the operator decides about accounts, for the rooms that ask.

use crate::config::Config;
use crate::extension::Extension;
use crate::stream::negotiation::registration::Rules;
use crate::xep::commands::Commands;
use crate::xep::register::Register;
use crate::xmpp::jid::BareJid;

/// The extensions of whoever runs this server.
pub fn operated(config: &Config) -> Vec<Box<dyn Extension>> {
    vec![Box::new(Register::new(config.register.clone())), Box::new(Commands::new(admins(config)))]
}

fn admins(config: &Config) -> impl Iterator<Item = BareJid> {
    config.admin.admins.iter().filter_map(|text| BareJid::parse(text).ok())
}

/// Nobody becomes an administrator by taking the name of one.
pub(super) fn rules(config: &Config) -> Rules {
    let mut rules = config.register.rules();
    rules.reserved.extend(admins(config).filter_map(|admin| admin.local().map(str::to_owned)));
    rules
}
