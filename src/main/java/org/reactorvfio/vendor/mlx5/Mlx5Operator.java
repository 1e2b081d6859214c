package org.reactorvfio.vendor.mlx5;

import java.util.List;
import java.util.Objects;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.Mono;

/** See {@link Mlx5}. */
final class Mlx5Operator implements VendorOperator<Mlx5Vf> {
  static final int BY_ADDRESS = -1;

  private static final String OPERATION = "migration by the PF";
  private static final String REMEDY =
      "use the VF without migration, or open its PF's command interface first";

  private final Mlx5Pf pf;
  private final int index;

  Mlx5Operator(Mlx5Pf pf, int index) {
    this.pf = Objects.requireNonNull(pf, "pf");
    this.index = index;
  }

  @Override
  public String name() {
    return "mlx5";
  }

  @Override
  public Class<Mlx5Vf> type() {
    return Mlx5Vf.class;
  }

  @Override
  public List<DeviceMatch> matches() {
    // The one id that all VFs of the family have.
    return List.of(DeviceMatch.any().device(0x15b3, 0x101e));
  }

  @Override
  public Mono<Mlx5Vf> probe(VfioOperations core, DeviceIdentity identity) {
    return Mono.defer(() -> {
          requirePf(core.name());
          return index == BY_ADDRESS ? byAddress(core.name()) : Mono.just(index);
        })
        .flatMap(number -> pf.prepare(number)
            .map(vhca -> new Mlx5Vf(new VfMigration(core.name(), pf, number, vhca))));
  }

  private void requirePf(String vf) {
    if (pf.isDown()) {
      throw unsupported(vf, "the command interface of its PF " + pf.name() + " has ended");
    }
    Adapter.Capabilities can = pf.capabilities();
    if (!can.migration() || !can.tracking()) {
      throw unsupported(
          vf,
          "firmware " + pf.firmware() + " of its PF " + pf.name() + " cannot "
              + (can.migration() ? "track a VF that runs" : "migrate VFs"));
    }
  }

  private Mono<Integer> byAddress(String vf) {
    PciAddress address = Mlx5Pf.address(vf);
    if (address == null) {
      throw unsupported(
          vf, "it has no PCI address that would tell which VF of " + pf.name() + " it is");
    }
    return pf.indexOf(address)
        .switchIfEmpty(
            Mono.error(() -> unsupported(vf, "it is no VF of " + pf.name() + ", the PF at hand")));
  }

  private static NotSupportedException unsupported(String vf, String problem) {
    return new NotSupportedException(OPERATION, vf, 0, problem, REMEDY);
  }

  @Override
  public VfioOperations compose(VfioOperations core, Mlx5Vf state) {
    return new Mlx5Operations(core, state.migration());
  }

  @Override
  public Mono<Void> release(Mlx5Vf state) {
    return state.migration().close();
  }
}
