//! The gate of the stream: what passes, what does not, and that it does not
//! matter how the bytes were cut on their way.

use bytes::BytesMut;
use jabiru::xml::error::XmlError;
use jabiru::xml::framer::{Frame, Framer};
use jabiru::xml::limits::Limits;
use proptest::prelude::{any, prop, proptest};
use proptest::strategy::Strategy;

const HEADER: &str = "<stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='example.org' version='1.0'>";

/// Everything the gate says of `pieces`, in words.
fn say(pieces: &[&[u8]], limits: Limits) -> Vec<String> {
    let mut framer = Framer::new(limits);
    let mut buffer = BytesMut::new();
    let mut said = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match framer.next(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Frame::Open(header))) => said.push(format!("open {header:?}")),
                Ok(Some(Frame::Close)) => said.push("close".into()),
                Ok(Some(Frame::Element(raw))) => {
                    let text = String::from_utf8_lossy(&raw.bytes).into_owned();
                    said.push(format!("{text} {:?}", raw.head));
                }
                Err(error) => {
                    said.push(format!("{error:?}"));
                    return said;
                }
            }
        }
    }
    said
}

/// The error that `bytes` meet.
fn error(bytes: &[u8], limits: Limits) -> Option<XmlError> {
    let mut framer = Framer::new(limits);
    let mut buffer = BytesMut::from(bytes);
    loop {
        match framer.next(&mut buffer) {
            Ok(None) => return None,
            Ok(Some(_)) => {}
            Err(error) => return Some(error),
        }
    }
}

fn error_in_stream(stanza: &[u8]) -> Option<XmlError> {
    error(&[HEADER.as_bytes(), stanza].concat(), Limits::client())
}

fn error_at_start(bytes: &[u8]) -> Option<XmlError> {
    error(bytes, Limits::unauthenticated())
}

#[track_caller]
fn refused(stanza: impl AsRef<[u8]>, error: XmlError) {
    let stanza = stanza.as_ref();
    let shown: String = String::from_utf8_lossy(stanza).chars().take(99).collect();
    assert_eq!(error_in_stream(stanza), Some(error), "{shown}");
}

#[track_caller]
fn passes(stanza: &str) {
    assert_eq!(error_in_stream(stanza.as_bytes()), None, "{stanza}");
    let said = say(&[HEADER.as_bytes(), stanza.as_bytes()], Limits::client());
    assert_eq!(said.len(), 2, "{stanza} is one stanza: {said:?}");
}

#[test]
fn ordinary_stanzas_pass() {
    passes("<message/>");
    passes("<message to='a@b'><body>hi</body></message>");
    passes("<message to=\"a@b\"\n\t><body\n>hi</body ></message >");
    passes("<message><body>&lt;&gt;&amp;&quot;&apos;&#x41;&#65;&#x1F600;</body></message>");
    passes("<message><body>é漢\u{1F600}\u{FEFF}</body></message>");
    passes("<message><body>]] > ] ]] ></body></message>");
    passes("<message xmlns:x='u' x:a='1' a='2'><x:b/></message>");
    passes("<message><x xmlns='u'><y xmlns=''/></x></message>");
    passes("<message xml:lang='en'/>");
    passes("<é:ü xmlns:é='u'/>");
    passes("<message a='&#10;&#9;&quot;&apos;&lt;'/>");
    passes("<message><body><![CDATA[<not> & ]] markup]]></body></message>");
    passes("<stream:error/>");
}

/// Inputs that RFC 6120 §11 forbids. quick-xml, a tokenizer, takes 15 of the
/// first 23.
#[test]
fn forbidden_and_broken_xml_does_not_pass() {
    use XmlError::{NotWellFormed, Restricted, TextBetweenStanzas};
    refused("<message><body></message>", NotWellFormed);
    refused("<message><body>&foo;</body></message>", Restricted);
    refused("<message>\u{1}</message>", NotWellFormed);
    refused("<1a/>", NotWellFormed);
    refused("<message a='<'/>", NotWellFormed);
    refused("<message>]]></message>", NotWellFormed);
    refused("<x:message/>", NotWellFormed);
    refused("<message><!-- hi --></message>", Restricted);
    refused("<message><?php ?></message>", Restricted);
    refused("<!DOCTYPE x>", Restricted);
    refused("<message a='1' a='2'/>", NotWellFormed);
    refused("<message xmlns:a='u' xmlns:b='u' a:k='1' b:k='2'/>", NotWellFormed);
    refused("<message a=1/>", NotWellFormed);
    refused("<message a='1'b='2'/>", NotWellFormed);
    refused("<message a/>", NotWellFormed);
    refused("<message>&#0;</message>", NotWellFormed);
    refused("<message>&#x1E;</message>", NotWellFormed);
    refused("<message>& </message>", NotWellFormed);
    refused(b"<message>\xED\xA0\x80</message>", NotWellFormed);
    refused(b"<message>\xEF\xBF\xBF</message>", NotWellFormed);
    refused(b"<body>\xE2\x82</body>", NotWellFormed);
    refused("<a:b:c xmlns:a='u'/>", NotWellFormed);
    refused("<message xmlns:a=''/>", NotWellFormed);
    // And more of them.
    refused(b"<message>\xF5\x80\x80\x80</message>", NotWellFormed);
    refused(b"<message>\xC0\xAF</message>", NotWellFormed);
    refused(b"<message a='\xFF'/>", NotWellFormed);
    refused(b"<mess\xFFage/>", NotWellFormed);
    refused("<message xmlns:xml='evil'/>", NotWellFormed);
    refused("<message xmlns:xmlns='x'/>", NotWellFormed);
    refused("<message xmlns='http://www.w3.org/2000/xmlns/'/>", NotWellFormed);
    refused("<message><stream:features/></message>", NotWellFormed);
    refused("<message stream:a='1'/>", NotWellFormed);
    refused("<message></Message>", NotWellFormed);
    refused("</message>", NotWellFormed);
    refused("<!-- between -->", Restricted);
    refused("<?xml version='1.0'?>", NotWellFormed);
    refused("<message>&#xD800;</message>", NotWellFormed);
    refused("<message>&#x110000;</message>", NotWellFormed);
    refused("<message>&;</message>", NotWellFormed);
    refused("<message>&#;</message>", NotWellFormed);
    refused("<message>&toolongtobeareference;</message>", NotWellFormed);
    refused("<message><![CDATA[\u{0}]]></message>", NotWellFormed);
    refused("<![CDATA[x]]>", TextBetweenStanzas);
    refused("hello", TextBetweenStanzas);
    refused("\u{FEFF}<message/>", TextBetweenStanzas);
    refused("<message / >", NotWellFormed);
    refused("< message/>", NotWellFormed);
    refused("<message a = '1' = '2'/>", NotWellFormed);
    refused("<'/>'>", NotWellFormed);
}

#[test]
fn a_stream_begins_with_a_header_in_utf_8() {
    use XmlError::{NotWellFormed, Restricted, UnsupportedEncoding, UnsupportedVersion};
    #[track_caller]
    fn check(bytes: impl AsRef<[u8]>, error: Option<XmlError>) {
        let shown = String::from_utf8_lossy(bytes.as_ref()).into_owned();
        assert_eq!(error_at_start(bytes.as_ref()), error, "{shown}");
    }
    let with = |prolog: &str| format!("{prolog}{HEADER}");
    check(with(""), None);
    check(with("<?xml version='1.0'?>"), None);
    check(with("\u{FEFF}<?xml version=\"1.0\" encoding='utf-8' standalone='yes'?>\n"), None);
    check(with(" \n"), None);
    check(with("<?xml version='1.1'?>"), Some(UnsupportedVersion));
    check(with("<?xml version='1.0' encoding='UTF-16'?>"), Some(UnsupportedEncoding));
    check(with("<?xml version='1.0' encoding='ISO-8859-1'?>"), Some(UnsupportedEncoding));
    check(b"\xFE\xFF\x00<", Some(UnsupportedEncoding));
    check(with(" <?xml version='1.0'?>"), Some(Restricted));
    check(with("<!DOCTYPE x [<!ENTITY a 'ha'>]>"), Some(Restricted));
    check(with("<?xml version='1.0'?><!DOCTYPE x>"), Some(Restricted));
    check(with("<!-- -->"), Some(Restricted));
    check(b"<'/>", Some(NotWellFormed));
    check(b"GET / HTTP/1.1\r\nHost: x\r\n", Some(NotWellFormed));
    check(b"SSH-2.0-OpenSSH", Some(NotWellFormed));
    check([0; 64], Some(NotWellFormed));
    check(b"<x:stream/>", Some(NotWellFormed));
    check(b"</stream:stream>", Some(NotWellFormed));
}

#[test]
fn everything_has_a_limit() {
    use XmlError::{TooDeep, TooLarge, TooManyAttributes, TooManyElements, TooManyNamespaces};
    let limits = Limits::client();
    let depth = usize::from(limits.depth_max);
    passes(&("<a>".repeat(depth) + &"</a>".repeat(depth)));
    refused("<a>".repeat(depth + 1), TooDeep);
    let many = |count: usize, each: fn(usize) -> String| -> String {
        format!("<a {}/>", (0..count).map(each).collect::<String>())
    };
    passes(&many(64, |n| format!(" a{n}=''")));
    refused(many(65, |n| format!(" a{n}=''")), TooManyAttributes);
    passes(&many(16, |n| format!(" xmlns:a{n}='u'")));
    refused(many(17, |n| format!(" xmlns:a{n}='u'")), TooManyNamespaces);
    refused(format!("<a>{}</a>", "<b/>".repeat(8192)), TooManyElements);
    let long = "x".repeat(limits.stanza_bytes_max);
    refused(format!("<a>{long}</a>"), TooLarge);
    refused(format!("<{long}"), TooLarge);
    refused(format!("<a b='{long}"), TooLarge);
    let long = format!("<stream:stream a='{}", "x".repeat(16 * 1024));
    assert_eq!(error_at_start(long.as_bytes()), Some(TooLarge));
}

#[test]
fn white_space_between_stanzas_says_nothing() {
    let said = say(&[HEADER.as_bytes(), b" \n\t", b" <a/> \n <b/> "], Limits::client());
    assert_eq!(said.len(), 3, "{said:?}");
}

#[test]
fn after_the_end_nothing_is_read() {
    let said = say(&[HEADER.as_bytes(), b"</stream:stream><message/>"], Limits::client());
    assert_eq!(said.last().map(String::as_str), Some("close"));
}

#[test]
fn the_head_tells_name_attributes_and_first_child() {
    let stanza =
        "<iq to='a@b&apos;c' type=\"get\" xmlns:x='urn:x&amp;y'> <x:q/><z xmlns='u'/></iq>";
    let mut framer = Framer::new(Limits::client());
    let mut buffer = BytesMut::from(format!("{HEADER}{stanza}").as_bytes());
    assert!(matches!(framer.next(&mut buffer), Ok(Some(Frame::Open(_)))));
    let Ok(Some(Frame::Element(raw))) = framer.next(&mut buffer) else { panic!("one stanza") };
    assert!(raw.is("iq", "jabber:client", "jabber:client"));
    assert_eq!(raw.attribute("to").as_deref(), Some("a@b'c"));
    assert_eq!(raw.attribute("type").as_deref(), Some("get"));
    assert_eq!(raw.attribute("from"), None);
    assert_eq!(raw.child("jabber:client"), Some(("q", "urn:x&y".into())));
    assert_eq!((raw.head.children, raw.head.has_text), (2, false));
    assert_eq!(raw.content(), " <x:q/><z xmlns='u'/>");
}

/// Streams that are right, wrong, and nearly right.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "<message to='a@b'>",
        "</message>",
        "<body>",
        "</body>",
        "<iq type='get'/>",
        "text",
        " ",
        "&amp;",
        "&#x41;",
        "&bad;",
        "&",
        "]]>",
        "]",
        "<![CDATA[x]]>",
        "<![CDATA[",
        "é",
        "\u{1F600}",
        "<x:y xmlns:x='u'/>",
        "<x:y/>",
        "<a b='>' c=\"'\"/>",
        "<!--",
        "<?xml?>",
        "</stream:stream>",
        "\u{FFFF}",
        "<",
        ">",
        "'",
        "<a b='1' b='2'/>",
    ]);
    let text = prop::collection::vec(pieces, 0..24)
        .prop_map(|pieces| format!("{HEADER}{}", pieces.concat()).into_bytes());
    let flip = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
    (text, flip).prop_map(|(mut bytes, flip)| {
        if let Some((index, byte)) = flip {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn the_cut_of_the_bytes_changes_nothing(
        bytes in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let whole = say(&[&bytes], Limits::client());
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(say(&single, Limits::client()), whole);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        assert_eq!(say(&pieces, Limits::client()), whole);
    }

    #[test]
    fn no_bytes_break_the_gate(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let whole = [HEADER.as_bytes(), &bytes].concat();
        let _ = say(&[&whole], Limits::client());
        let _ = say(&[&bytes], Limits::client());
    }
}
