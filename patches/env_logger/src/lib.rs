//! Stands in for the crate of this name: empty, because `devicemapper` calls it in its own tests only.
