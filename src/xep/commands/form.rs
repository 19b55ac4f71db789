//! Data forms (XEP-0004): what is asked, and what was filled in, checked
//! against what was asked.

use std::collections::HashMap;

use crate::xml::element::Element;
use crate::xmpp::jid::Jid;
use crate::xmpp::namespaces::DATA;

/// Values of one field. A guess: what somebody types or pastes.
const VALUES_MAX: usize = 1_000;

/// What a field takes (XEP-0004 §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A line.
    Text,
    /// Lines.
    Lines,
    /// A line that nobody shall see.
    Secret,
    /// An address.
    Jid,
    /// Addresses.
    Jids,
    /// One of these; the first if nothing is chosen.
    One(&'static [&'static str]),
}

/// One field of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub var: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What people read.
    pub label: &'static str,
    /// Whether it must be filled in.
    pub is_required: bool,
}

/// A form as it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// What it is for, by machines (XEP-0068).
    pub form_type: &'static str,
    /// What it is for, by people.
    pub title: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

/// What was filled in, by the names of the fields.
pub type Values = HashMap<&'static str, Vec<String>>;

/// Something was not filled in as it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrong;

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Text => "text-single",
            Self::Lines => "text-multi",
            Self::Secret => "text-private",
            Self::Jid => "jid-single",
            Self::Jids => "jid-multi",
            Self::One(_) => "list-single",
        }
    }

    fn takes(self, values: &[String]) -> bool {
        let is_jid = |text: &String| Jid::parse(text).is_ok();
        match self {
            Self::Text | Self::Secret => values.len() <= 1,
            Self::Lines => values.len() <= VALUES_MAX,
            Self::Jid => values.len() <= 1 && values.iter().all(is_jid),
            Self::Jids => values.len() <= VALUES_MAX && values.iter().all(is_jid),
            Self::One(known) => {
                values.len() <= 1 && values.iter().all(|value| known.contains(&value.as_str()))
            }
        }
    }
}

fn field(var: &str, kind: &str, values: &[&str]) -> Element {
    let field = Element::new("field", DATA).attr("var", var).attr("type", kind);
    let value = |value: &&str| Element::new("value", DATA).text(*value);
    values.iter().map(value).fold(field, Element::child)
}

impl Form {
    /// As it is sent to be filled in.
    pub fn to_element(self) -> Element {
        let title = Element::new("title", DATA).text(self.title);
        let form = Element::new("x", DATA).attr("type", "form").child(title).child(field(
            "FORM_TYPE",
            "hidden",
            &[self.form_type],
        ));
        self.fields.iter().copied().map(Field::to_element).fold(form, Element::child)
    }

    /// Reads what was filled in. Fields that were not asked for are left out.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn read(self, form: &Element) -> Result<Values, Wrong> {
        if !form.is("x", DATA) || form.attribute("type") != Some("submit") {
            return Err(Wrong);
        }
        let filled = |var: &str| -> Result<Option<Vec<String>>, Wrong> {
            let mut found = form
                .elements()
                .filter(|one| one.is("field", DATA) && one.attribute("var") == Some(var));
            let (first, second) = (found.next(), found.next());
            if second.is_some() {
                return Err(Wrong);
            }
            let values = |field: &Element| {
                let values = field.elements().filter(|one| one.is("value", DATA));
                values.map(Element::own_text).filter(|text| !text.is_empty()).collect()
            };
            Ok(first.map(values))
        };
        if filled("FORM_TYPE")?.is_some_and(|types| types != [self.form_type]) {
            return Err(Wrong);
        }
        let mut values = Values::new();
        for field in self.fields {
            let filled = filled(field.var)?.unwrap_or_default();
            if (field.is_required && filled.is_empty()) || !field.kind.takes(&filled) {
                return Err(Wrong);
            }
            values.insert(field.var, filled);
        }
        Ok(values)
    }
}

impl Field {
    fn to_element(self) -> Element {
        let first = match self.kind {
            Kind::One(known) => known.get(..1).unwrap_or_default(),
            _ => &[],
        };
        let mut element = field(self.var, self.kind.word(), first).attr("label", self.label);
        if let Kind::One(known) = self.kind {
            for one in known {
                let value = Element::new("value", DATA).text(*one);
                element =
                    element.child(Element::new("option", DATA).attr("label", *one).child(value));
            }
        }
        match self.is_required {
            true => element.child(Element::new("required", DATA)),
            false => element,
        }
    }
}

/// A form that only tells something: each field with its values.
pub fn result(form_type: &str, fields: &[(&str, Kind, Vec<String>)]) -> Element {
    let form = Element::new("x", DATA).attr("type", "result").child(field(
        "FORM_TYPE",
        "hidden",
        &[form_type],
    ));
    let told = fields.iter().map(|(var, kind, values)| {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        field(var, kind.word(), &values)
    });
    told.fold(form, Element::child)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form {
        form_type: "urn:x",
        title: "T",
        fields: &[
            Field { var: "who", kind: Kind::Jids, label: "W", is_required: true },
            Field { var: "many", kind: Kind::One(&["25", "50"]), label: "M", is_required: false },
            Field { var: "text", kind: Kind::Text, label: "X", is_required: false },
        ],
    };

    fn read(fields: &str) -> Result<Values, Wrong> {
        let text = format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>");
        FORM.read(&Element::parse(text.as_bytes(), "").expect("one element"))
    }

    #[test]
    fn a_form_says_what_it_wants() {
        let text = String::from_utf8(FORM.to_element().to_bytes("").to_vec()).expect("text");
        for part in [
            "<x xmlns='jabber:x:data' type='form'>",
            "<field var='FORM_TYPE' type='hidden'><value>urn:x</value></field>",
            "<field var='who' type='jid-multi' label='W'><required/></field>",
            "<value>25</value><option label='25'><value>25</value></option>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn what_is_filled_in_is_checked() {
        let who = "<field var='who'><value>a@b</value></field>";
        let good = read(&format!("{who}<field var='other'><value>x</value></field>"));
        assert_eq!(good.expect("fine")["who"], ["a@b"]);
        let twice = format!("{who}{who}");
        let type_and = format!("<field var='FORM_TYPE'><value>urn:y</value></field>{who}");
        let many = format!("{who}<field var='many'><value>26</value></field>");
        let two = format!("{who}<field var='text'><value>a</value><value>b</value></field>");
        for wrong in [
            "",
            "<field var='who'/>",
            "<field var='who'><value/></field>",
            "<field var='who'><value>@</value></field>",
            "<field var='who'><value>a@b</value><value>@</value></field>",
            &twice,
            &type_and,
            &many,
            &two,
        ] {
            assert_eq!(read(wrong), Err(Wrong), "{wrong}");
        }
        let cancel = Element::new("x", DATA).attr("type", "cancel");
        assert_eq!(FORM.read(&cancel), Err(Wrong));
    }
}
