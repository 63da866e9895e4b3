//! The Merkle tree of RFC 6962, section 2.1: SHA-256, 0x00 before a leaf, 0x01 before two nodes.

use sha2::{Digest, Sha256};

pub type Hash = [u8; 32];

const LEAF_PREFIX: u8 = 0;
const NODE_PREFIX: u8 = 1;

/// The hash of an entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([LEAF_PREFIX]).chain_update(entry).finalize().into()
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([NODE_PREFIX]).chain_update(left).chain_update(right).finalize().into()
}

/// The root over leaves in their order. Of no leaves it is the hash of nothing.
pub fn root(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            // One that is left over moves up as it is: splitting at the largest power of two comes to the same.
            .map(|pair| if let [left, right] = pair { node_hash(left, right) } else { pair[0] })
            .collect();
    }
    level.first().copied().unwrap_or_else(|| Sha256::new().finalize().into())
}

/// The hashes that lead from one leaf to the root, nearest first; `None` when there is no such leaf.
pub fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut leaves, mut index) = (leaves, index);
    let mut from_the_top = Vec::new();
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        if index < left.len() {
            from_the_top.push(root(right));
            leaves = left;
        } else {
            from_the_top.push(root(left));
            index -= left.len();
            leaves = right;
        }
    }
    from_the_top.reverse();
    Some(from_the_top)
}

/// The root that a leaf and its path give; `None` when the path has not the length of that place in a tree of that size.
/// The algorithm is that of RFC 9162, section 2.1.3.2.
pub fn root_from_path(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut place, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// A tree that only grows: the roots of its complete subtrees, largest first. A leaf is added in logarithmic time, and
/// nothing else of the tree need be at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// `None` when a tree of that size has another number of complete subtrees.
    pub fn from_parts(size: u64, subtrees: Vec<Hash>) -> Option<Self> {
        (size.count_ones() as usize == subtrees.len()).then_some(Self { size, subtrees })
    }

    pub const fn size(&self) -> u64 {
        self.size
    }

    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }

    pub fn append(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    pub fn root(&self) -> Hash {
        let mut rest = self.subtrees.iter().rev();
        let Some(smallest) = rest.next() else { return root(&[]) };
        rest.fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// The path that the next leaf will have as the last of its tree.
    pub fn path_of_next(&self) -> Vec<Hash> {
        self.subtrees.iter().rev().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The entries and roots that the tests of Certificate Transparency use (google/certificate-transparency,
    /// merkletree tests; also transparency-dev/merkle, testonly/constants.go).
    const ENTRIES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
    }

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        for (size, expected) in ROOTS.iter().enumerate() {
            let leaves: Vec<Hash> = ENTRIES[..size].iter().map(|entry| leaf_hash(entry)).collect();
            assert_eq!(hex(root(&leaves)), *expected, "of {size} leaves");
        }
    }

    #[test]
    fn every_leaf_has_a_path_and_no_other_leaf_or_place_fits_it() {
        for size in 1..=33_usize {
            let leaves = leaves(size);
            let expected = root(&leaves);
            for index in 0..size {
                let path = path(&leaves, index).expect("a path");
                let from = |leaf, index: usize, size: usize, path: &[Hash]| {
                    root_from_path(leaf, index as u64, size as u64, path)
                };
                assert_eq!(from(leaves[index], index, size, &path), Some(expected), "{index} of {size}");
                assert_ne!(from([9; 32], index, size, &path), Some(expected));
                if size > 1 {
                    assert_ne!(from(leaves[index], (index + 1) % size, size, &path), Some(expected));
                    assert_eq!(from(leaves[index], index, size, &path[1..]), None);
                }
                assert_eq!(from(leaves[index], index, size, &[path, vec![[0; 32]]].concat()), None);
            }
            assert_eq!(path(&leaves, size), None);
        }
        assert_eq!(root_from_path([0; 32], 0, 0, &[]), None);
    }

    #[test]
    fn a_growing_tree_equals_one_made_at_once() {
        let leaves = leaves(70);
        let mut frontier = Frontier::default();
        for size in 0..leaves.len() {
            assert_eq!(frontier.root(), root(&leaves[..size]), "of {size} leaves");
            assert_eq!(Some(frontier.path_of_next()), path(&leaves[..=size], size));
            frontier.append(leaves[size]);
            let again = Frontier::from_parts(frontier.size(), frontier.subtrees().to_vec());
            assert_eq!(again.as_ref(), Some(&frontier));
        }
        assert_eq!(Frontier::from_parts(3, vec![]), None);
    }
}
