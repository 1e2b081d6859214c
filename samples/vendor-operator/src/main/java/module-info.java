/** A vendor operator outside of the library: it sees what the library exports, and no more. */
module org.reactorvfio.samples.vendoroperator {
  requires transitive org.reactorvfio;

  exports org.reactorvfio.samples.vendoroperator;

  provides org.reactorvfio.vendor.VendorOperator with
      org.reactorvfio.samples.vendoroperator.EduOperator;
}
