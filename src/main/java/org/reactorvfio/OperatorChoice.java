package org.reactorvfio;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.VendorOperator;

/**
 * Which operators a device may get: those that were named, whatever they match, as the kernel's {@code driver_override} binds a
 * driver; and of those that were discovered, the one with the most specific match.
 */
record OperatorChoice(List<VendorOperator<?>> named, List<VendorOperator<?>> discovered) {
  static final OperatorChoice NONE = new OperatorChoice(List.of(), List.of());

  OperatorChoice {
    named = List.copyOf(named);
    discovered = List.copyOf(discovered);
    Set<Class<?>> types = new HashSet<>();
    for (VendorOperator<?> operator : named) {
      if (operator.type() != Object.class && !types.add(operator.type())) {
        throw new IllegalArgumentException("operator " + operator.name() + ": another operator has "
            + operator.type().getName() + " as its state, too");
      }
    }
  }

  OperatorChoice withNamed(List<VendorOperator<?>> operators) {
    return new OperatorChoice(operators, discovered);
  }

  OperatorChoice withDiscovered(List<VendorOperator<?>> operators) {
    return new OperatorChoice(named, operators);
  }

  boolean isEmpty() {
    return named.isEmpty() && discovered.isEmpty();
  }

  /**
   * Chooses.
   *
   * @param device the device's name, for messages
   * @param passedOver gets those that were discovered but are not for the device
   * @return the operators, first the one nearest the core
   */
  List<VendorOperator<?>> of(
      String device, DeviceIdentity identity, Collection<PassedOver> passedOver) {
    List<VendorOperator<?>> best = new ArrayList<>();
    int most = -1;
    for (VendorOperator<?> operator : discovered) {
      int specificity = specificity(operator, identity);
      if (isNamed(operator.type())) {
        passedOver.add(
            new PassedOver(operator, "another operator with the same state was named instead"));
      } else if (specificity < 0) {
        passedOver.add(new PassedOver(operator, "it is not for " + identity));
      } else if (specificity < most) {
        passedOver.add(new PassedOver(operator, best.get(0).name() + " matches more specifically"));
      } else {
        if (specificity > most) {
          best.forEach(other -> passedOver.add(
              new PassedOver(other, operator.name() + " matches more specifically")));
          best.clear();
          most = specificity;
        }
        best.add(operator);
      }
    }
    if (best.size() > 1) {
      throw new OperatorConflictException(
          "choice of an operator",
          device,
          0,
          names(best) + " match " + identity + " equally well",
          "name the right one with VfioOptions.withOperators instead of discovering them");
    }
    List<VendorOperator<?>> chosen = new ArrayList<>(best);
    chosen.addAll(named);
    return chosen;
  }

  private boolean isNamed(Class<?> type) {
    return type != Object.class && named.stream().anyMatch(operator -> operator.type() == type);
  }

  private static int specificity(VendorOperator<?> operator, DeviceIdentity identity) {
    return operator.matches().stream()
        .filter(match -> match.matches(identity))
        .mapToInt(DeviceMatch::specificity)
        .max()
        .orElse(-1);
  }

  static String names(Collection<? extends VendorOperator<?>> operators) {
    return String.join(", ", operators.stream().map(VendorOperator::name).toList());
  }

  /** An operator that a device was opened without, and why. */
  record PassedOver(VendorOperator<?> operator, String reason) {
    @Override
    public String toString() {
      return operator.name() + ": " + reason;
    }
  }
}
