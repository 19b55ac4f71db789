//! `jabiru cookie` and `jabiru cert`: what a new cluster needs first.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use crate::cli::Exit;
use crate::cluster::cookie::Cookie;

/// How long a certificate for trying out is good, in days: shorter than what
/// clients refuse (825 days for a self-made authority).
const CERTIFICATE_DAYS: i64 = 397;

/// `jabiru cookie`.
#[derive(Debug, Args)]
pub struct CookieArgs {
    /// Write it into this new file, which only you can read. Without it: to
    /// standard output.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// `jabiru cert`.
#[derive(Debug, Args)]
pub struct CertArgs {
    /// A domain that it is for; give several for several.
    #[arg(long = "domain", required = true, value_name = "DOMAIN")]
    domains: Vec<String>,
    /// The folder for ca.pem, cert.pem and key.pem.
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    out: PathBuf,
}

/// Makes a cookie.
pub fn cookie(args: &CookieArgs) -> Exit {
    let cookie = match Cookie::generate() {
        Ok(cookie) => cookie,
        Err(error) => return failed("no random bytes", &error),
    };
    match &args.write {
        None => println!("{}", cookie.text()),
        Some(path) => {
            if let Err(error) = write_new(path, cookie.text().as_bytes(), 0o600) {
                return failed(&path.display().to_string(), &error);
            }
            println!("{} written: give every node of the cluster the same", path.display());
        }
    }
    Exit::Done
}

/// Makes a certificate authority and a certificate.
pub fn cert(args: &CertArgs) -> Exit {
    let made = match make(&args.domains) {
        Ok(made) => made,
        Err(error) => return failed("no certificate", &error),
    };
    if let Err(error) = fs::create_dir_all(&args.out) {
        return failed(&args.out.display().to_string(), &error);
    }
    let files = [
        ("ca.pem", &made.ca, 0o644),
        ("cert.pem", &made.chain, 0o644),
        ("key.pem", &made.key, 0o600),
    ];
    for (name, text, mode) in files {
        let path = args.out.join(name);
        if let Err(error) = write_new(&path, text.as_bytes(), mode) {
            return failed(&path.display().to_string(), &error);
        }
    }
    println!("{}: clients that trust it trust this server", args.out.join("ca.pem").display());
    println!("{}: [[tls]] certificate", args.out.join("cert.pem").display());
    println!("{}: [[tls]] key", args.out.join("key.pem").display());
    Exit::Done
}

struct Made {
    ca: String,
    chain: String,
    key: String,
}

fn make(domains: &[String]) -> Result<Made, rcgen::Error> {
    let begin = time_of_today();
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "Jabiru, for trying out");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = begin;
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let mut server = CertificateParams::new(domains.to_vec())?;
    let first = domains.first().map_or("", String::as_str);
    server.distinguished_name.push(DnType::CommonName, first);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    (server.not_before, server.not_after) = begin;
    let key = KeyPair::generate()?;
    let server = server.signed_by(&key, &ca)?;
    Ok(Made { ca: ca.pem(), chain: server.pem() + &ca.pem(), key: key.serialize_pem() })
}

/// From yesterday on, for clocks that are a little behind.
fn time_of_today() -> (time::OffsetDateTime, time::OffsetDateTime) {
    let today = time::OffsetDateTime::now_utc();
    (today - time::Duration::days(1), today + time::Duration::days(CERTIFICATE_DAYS))
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.write_all(if bytes.ends_with(b"\n") { b"" } else { b"\n" })?;
    file.sync_all()
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Exit {
    eprintln!("jabiru: {what}: {error}");
    Exit::Failed
}
