package org.reactorvfio.emulation;

import org.reactorvfio.contract.EduContract;
import org.reactorvfio.operations.VfioTransport;

class EmulatedEduContractTest extends EduContract {
  private final EmulatedEdu edu = EmulatedEdu.create();

  @Override
  protected VfioTransport transport() {
    return edu;
  }
}
