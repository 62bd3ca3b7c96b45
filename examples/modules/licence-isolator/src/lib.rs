//! An isolator that hands out licences from a pool.
