//! Our gate beside rxml, which was written by others: nothing passes the one
//! that the other refuses. `fuzz/` does the same without end.

mod compare;

use compare::{HEADER, compare};
use proptest::prelude::{Strategy, any, prop, proptest};

/// Pieces of XML, good and bad.
const PIECES: [&str; 64] = [
    "<a>",
    "</a>",
    "<a/>",
    "<b xmlns='urn:x'>",
    "</b>",
    "<p:c xmlns:p='urn:p' p:k='v'>",
    "</p:c>",
    "<p:c/>",
    "<d k='1' l=\"2\"/>",
    "<message to='x' type=\"chat\">",
    "</message>",
    "text",
    " ",
    "\n",
    "\t",
    "&amp;",
    "&lt;",
    "&apos;",
    "&#65;",
    "&#x41;",
    "&#0;",
    "&#xD800;",
    "&#x1F600;",
    "&foo;",
    "&",
    "]]>",
    "]]",
    "<![CDATA[",
    "<![CDATA[x<&y]]>",
    "<!-- x -->",
    "<?pi x?>",
    "<!DOCTYPE a>",
    "<!ENTITY x 'y'>",
    "<e a='1' a='2'/>",
    "<e x:a='1' xmlns:x='u' xmlns:y='u' y:a='2'/>",
    "<f a=1/>",
    "<f a='<'/>",
    "<f a='&lt;&#10;'/>",
    "<f a='\n'/>",
    "<f a/>",
    "<1a/>",
    "<é/>",
    "é",
    "\u{FFFE}",
    "\u{1}",
    "<a:b:c/>",
    "<:a/>",
    "<a:/>",
    "<xml:a/>",
    "<xmlns:a/>",
    "<a xmlns:p=''/>",
    "<a xmlns=''/>",
    "<a xmlns:xml='urn:x'/>",
    "<a xmlns:xmlns='urn:x'/>",
    "<a xml:lang='en'/>",
    "<a xmlns:q='http://www.w3.org/XML/1998/namespace'/>",
    "</stream:stream>",
    "<a",
    "/>",
    ">",
    "'",
    "<a b='c'",
    "</ a>",
    "<a ></a >",
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (pieces, changes).prop_map(|(pieces, changes)| {
        let mut bytes = [HEADER, &pieces.concat()].concat().into_bytes();
        for (place, byte) in changes {
            let place = place.index(bytes.len() + 8).min(bytes.len() - 1);
            if place >= HEADER.len() {
                bytes[place] = byte;
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(20_000))]
    #[test]
    fn nothing_passes_that_rxml_refuses_and_nothing_else_is_held_back(
        bytes in stream(),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        compare(&bytes, &cuts);
    }
}

#[test]
fn each_piece_by_itself_and_in_an_element() {
    for piece in PIECES {
        compare(format!("{HEADER}{piece}<z/>").as_bytes(), &[]);
        compare(format!("{HEADER}<y>{piece}</y><z/>").as_bytes(), &[]);
        compare(format!("{HEADER}<y xmlns:p='urn:q'>{piece}{piece}</y><z/>").as_bytes(), &[]);
    }
}
