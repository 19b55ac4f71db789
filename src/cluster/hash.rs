//! One fixed 64-bit hash: SipHash-2-4 with a key of zeroes, the same on every
//! machine and in every version. Not a secret and no proof of anything: where
//! a stranger might choose the input to make collisions, the result is mixed
//! with a secret of the process (`table`).

use std::hash::Hasher;

/// Hashes one text of bytes.
pub fn stable(bytes: &[u8]) -> u64 {
    let mut sip = Sip::default();
    sip.write(bytes);
    sip.finish()
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012) with the key `00..00`, fed piece
/// by piece. Two pieces hash like their concatenation.
#[derive(Clone, Debug)]
pub struct Sip {
    state: [u64; 4],
    tail: [u8; 8],
    tail_len: usize,
    length: u64,
}

impl Default for Sip {
    fn default() -> Sip {
        Sip::with_key(0, 0)
    }
}

impl Sip {
    fn with_key(k0: u64, k1: u64) -> Sip {
        Sip {
            state: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
            tail: [0; 8],
            tail_len: 0,
            length: 0,
        }
    }

    fn word(&mut self, word: u64) {
        self.state[3] ^= word;
        round(&mut self.state);
        round(&mut self.state);
        self.state[0] ^= word;
    }
}

impl Hasher for Sip {
    fn write(&mut self, mut bytes: &[u8]) {
        self.length = self.length.wrapping_add(bytes.len() as u64);
        if self.tail_len > 0 {
            let taken = bytes.len().min(8 - self.tail_len);
            let (head, rest) = bytes.split_at(taken);
            self.tail[self.tail_len..self.tail_len + taken].copy_from_slice(head);
            self.tail_len += taken;
            bytes = rest;
            if self.tail_len < 8 {
                return;
            }
            let word = u64::from_le_bytes(self.tail);
            self.word(word);
            self.tail_len = 0;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        self.tail[..rest.len()].copy_from_slice(rest);
        self.tail_len = rest.len();
    }

    fn finish(&self) -> u64 {
        let mut sip = self.clone();
        let mut last = [0; 8];
        last[..self.tail_len].copy_from_slice(&self.tail[..self.tail_len]);
        last[7] = self.length as u8;
        sip.word(u64::from_le_bytes(last));
        sip.state[2] ^= 0xff;
        for _ in 0..4 {
            round(&mut sip.state);
        }
        sip.state[0] ^ sip.state[1] ^ sip.state[2] ^ sip.state[3]
    }
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The designers' own vectors: the key 00 01 .. 0f, the texts "", 00,
    /// 00 01, and so on.
    #[test]
    fn the_hash_is_the_published_one() {
        let vectors: [(usize, u64); 5] = [
            (0, 0x726f_db47_dd0e_0e31),
            (1, 0x74f8_39c5_93dc_67fd),
            (8, 0x93f5_f579_9a93_2462),
            (15, 0xa129_ca61_49be_45e5),
            (63, 0x958a_324c_eb06_4572),
        ];
        let text: Vec<u8> = (0..64).collect();
        for (length, expected) in vectors {
            let mut sip = Sip::with_key(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
            sip.write(&text[..length]);
            assert_eq!(sip.finish(), expected, "{length} bytes");
        }
    }

    #[test]
    fn pieces_hash_like_their_concatenation() {
        let text: Vec<u8> = (0..64).collect();
        for cut in 0..64 {
            for second in cut..64 {
                let mut sip = Sip::default();
                sip.write(&text[..cut]);
                sip.write(&text[cut..second]);
                sip.write(&text[second..]);
                assert_eq!(sip.finish(), stable(&text), "cut at {cut} and {second}");
            }
        }
    }
}
