//! Contact addresses (XEP-0157): whom to write to about this server, in its
//! disco#info.

use async_trait::async_trait;

use crate::extension::{About, Extension};
use crate::xep::config::Contacts;
use crate::xml::element::Element;
use crate::xmpp::namespaces::{DATA, SERVER_INFO};

/// The extension.
#[derive(Debug)]
pub struct ContactAddresses {
    /// By reason.
    pub contacts: Contacts,
}

#[async_trait]
impl Extension for ContactAddresses {
    fn about(&self) -> About {
        About { specification: "XEP-0157: Contact Addresses for XMPP Services", ..About::default() }
    }

    /// Nothing, where nobody is named.
    fn form(&self) -> Option<Element> {
        let contacts = &self.contacts;
        let reasons = [
            ("abuse-addresses", &contacts.abuse),
            ("admin-addresses", &contacts.admin),
            ("feedback-addresses", &contacts.feedback),
            ("sales-addresses", &contacts.sales),
            ("security-addresses", &contacts.security),
            ("status-addresses", &contacts.status),
            ("support-addresses", &contacts.support),
        ];
        let mut named = reasons.into_iter().filter(|(_, uris)| !uris.is_empty()).peekable();
        named.peek()?;
        let value = |text: &str| Element::new("value", DATA).text(text);
        let field = |name| Element::new("field", DATA).attr("var", name);
        let kind = field("FORM_TYPE").attr("type", "hidden").child(value(SERVER_INFO));
        let form = Element::new("x", DATA).attr("type", "result").child(kind);
        Some(named.fold(form, |form, (reason, uris)| {
            let field = field(reason).attr("type", "list-multi");
            form.child(uris.iter().fold(field, |field, uri| field.child(value(uri))))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_named_is_said() {
        let nobody = ContactAddresses { contacts: Contacts::default() };
        assert_eq!(nobody.form(), None);
        let admin = vec!["mailto:a@b?subject=<x>".into(), "xmpp:a@b".into()];
        let contacts = Contacts { admin, ..Contacts::default() };
        let form = ContactAddresses { contacts }.form().expect("somebody is named");
        assert_eq!(
            String::from_utf8_lossy(&form.to_bytes("")),
            "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>\
             <value>http://jabber.org/network/serverinfo</value></field>\
             <field var='admin-addresses' type='list-multi'>\
             <value>mailto:a@b?subject=&lt;x&gt;</value><value>xmpp:a@b</value></field></x>"
        );
    }
}
